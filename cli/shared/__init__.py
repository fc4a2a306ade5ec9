"""What the commands share: options, messages, checks of what is given, and defaults."""
