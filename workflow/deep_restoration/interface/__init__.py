"""What a user calls: one photograph and any network, from Python or from the shell."""
