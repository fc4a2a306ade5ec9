"""What encoders are trained for without labels: one file per kind of objective."""
