UPDATE inbox_schema SET version = $1, oldest_program = $2
