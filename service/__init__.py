"""queuestats: what is in a mail sender's queue, exactly, now."""
