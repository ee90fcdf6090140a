"""The running box: configuration, tick, gossip, restore, command line. Thin asyncio shells around pure cores."""
