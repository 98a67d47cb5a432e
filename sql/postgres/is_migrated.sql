SELECT to_regclass('inbox_schema') IS NOT NULL
