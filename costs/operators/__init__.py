"""What the operators of a network ask of a device, and how long they take there."""
