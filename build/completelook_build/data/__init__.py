"""Shop-the-look data: pairs, pictures, splits."""
