"""The briefing and the tearsheets people look at."""
