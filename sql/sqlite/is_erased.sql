SELECT EXISTS (SELECT 1 FROM erased WHERE hash = ?1 AND until > ?2)
