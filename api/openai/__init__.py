"""Routes in the shapes of OpenAI's API, for unmodified clients."""
