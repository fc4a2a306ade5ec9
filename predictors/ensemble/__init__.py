"""The default predictor, which weighs many others, and the calibration of its errors."""
