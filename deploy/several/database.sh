#!/bin/sh
# The first start of a server of PostgreSQL: makes the directory PGDATA, then runs the command that follows (docs/growing.md).
#
#   NAME=db1 PRIMARY=db1   makes the primary, with the database and the roles
#   NAME=db2 PRIMARY=db1   makes a standby, as a copy of the primary
#
# INBOX_PASSWORD_FILE and REPLICA_PASSWORD_FILE name files with the passwords. A directory that exists stays as it is. The
# script runs as the user that runs the server, with the programs of PostgreSQL in PATH.

set -eu

# The directory gets its name when it is complete. So a first start that breaks off begins again.
new=$PGDATA.new

make_primary() {
    initdb --pgdata="$new" --encoding=UTF8 --locale=C.UTF-8 --data-checksums --auth-local=peer --auth-host=reject
    # No client can reach this server before it is complete.
    pg_ctl --pgdata="$new" --wait --options="-c listen_addresses= -c unix_socket_directories='$new'" start
    # The last line counts from the next start on. Before, the other lines would wait for a standby.
    psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --host="$new" --dbname=postgres << 'END'
\set inbox `cat "$INBOX_PASSWORD_FILE"`
\set replica `cat "$REPLICA_PASSWORD_FILE"`
CREATE ROLE inbox LOGIN PASSWORD :'inbox';
CREATE ROLE replica LOGIN REPLICATION PASSWORD :'replica';
CREATE DATABASE inbox OWNER inbox;
ALTER SYSTEM SET synchronous_standby_names = 'db1, db2';
END
    pg_ctl --pgdata="$new" --wait --mode=fast stop
}

make_standby() {
    # --write-recovery-conf keeps the password too, in a file that only this user can read.
    PGPASSWORD=$(cat "$REPLICA_PASSWORD_FILE") pg_basebackup --pgdata="$new" --write-recovery-conf --checkpoint=fast \
        --dbname="host=$PRIMARY user=replica application_name=$NAME"
    # After a promotion there is no standby. The new primary would wait for one before it answers.
    echo "synchronous_standby_names = ''" >> "$new/postgresql.auto.conf"
}

if [ ! -e "$PGDATA" ]; then
    rm -rf "$new"
    if [ "$NAME" = "$PRIMARY" ]; then make_primary; else make_standby; fi
    mv "$new" "$PGDATA"
fi
exec "$@"
