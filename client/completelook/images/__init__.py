"""Pictures: from anywhere to the one tensor."""
