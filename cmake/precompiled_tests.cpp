// Carries the precompiled header of tests; nothing of its own.
