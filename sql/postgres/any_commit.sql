-- Whether something has been committed that has no number yet.
SELECT EXISTS (SELECT 1 FROM commits)
