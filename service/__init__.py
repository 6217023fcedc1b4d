"""queuestats: exact, current counts of the messages in a mail sender's queue."""
