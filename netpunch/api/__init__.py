"""What asyncio programs call."""
