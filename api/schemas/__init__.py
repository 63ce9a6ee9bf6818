"""The shapes of the HTTP surface: what a body may say, and what an answer says. No rule of the domain lives here."""
