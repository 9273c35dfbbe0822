"""What a class recorded, and what follows from it."""
