"""What an operation, a group or a schedule costs on a target."""
