"""The customers' web portal: server-rendered rooms over the same services as the API."""
