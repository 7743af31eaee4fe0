"""Who may say success, who wins, and what is never written: the decisions, without any hardware."""
