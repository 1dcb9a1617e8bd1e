"""C-STORE: Success means durable and queued; everything else is a status, with the association alive."""
