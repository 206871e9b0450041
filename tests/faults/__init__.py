"""What goes wrong for users, provoked for real: the first complaint names cause and cure."""
