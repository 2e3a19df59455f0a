"""Control flow: operators with regions."""
