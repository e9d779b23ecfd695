# Puts the newest dump, or the one that RESTORE_FROM names, into the database PGDATABASE, which a person has made for it.
set -eu
cd /backup
newest=$(ls ecommerce-*.dump | tail -n 1)
dump=${RESTORE_FROM:-$newest}
pg_restore --no-password --exit-on-error --no-owner --dbname="$PGDATABASE" "$dump"
echo "$dump is in $PGDATABASE"
