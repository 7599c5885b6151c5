"""Who may ask, and how much: API keys, limits per client, and what trusted proxies say."""
