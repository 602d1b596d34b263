"""What was recorded: manifests, audio, features, and simulated machines."""
