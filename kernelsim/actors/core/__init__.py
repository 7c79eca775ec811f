"""What the actors of one machine share: its state, tasks, tunables in force."""
