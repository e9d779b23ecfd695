# A dump counts once it has its name: until then it is a part, which the next run removes.
set -eu
umask 077
cd /backup
rm -f ./*.part
dump="ecommerce-$(date -u +%Y-%m-%dT%H%M%SZ).dump"
pg_dump --no-password --format=custom --file="$dump.part"
# Reads all of it.
pg_restore --file=/dev/null "$dump.part"
sync "$dump.part"
mv "$dump.part" "$dump"
find . -name 'ecommerce-*.dump' -mtime "+$BACKUP_KEEP_DAYS" -delete
echo "$dump: $(wc -c < "$dump") bytes"
