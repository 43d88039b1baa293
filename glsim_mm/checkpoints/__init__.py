"""Reading and writing weights of this project and of others."""
