-- What the first process with a master key sealed.
SELECT canary FROM seals WHERE name = :name
