"""The paper's experiments as commands: certified Recall@1 tables and plots, and attacks."""
