UPDATE arrival SET stamp = ?1
