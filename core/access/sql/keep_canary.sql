-- Keeps the canary of the first process with a master key.
INSERT INTO seals (name, canary) VALUES (:name, :canary) ON CONFLICT (name) DO NOTHING
