"""Small programs that tests start as child processes, and the witness that sees them come and go."""
