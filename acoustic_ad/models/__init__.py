"""What is kept: the model of a machine, its bundle, and the registry of versions."""
