"""The default predictor, which weights many others, and the calibration of its uncertainty."""
