# After every start: each role has the password that its Secret says, and the role of the backup exists. init.sql runs on an
# empty data directory only.
set -eu
# Over TCP: the server that initialises the data directory listens on the socket only.
until pg_isready --quiet --host=127.0.0.1; do sleep 1; done
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --host=/var/run/postgresql --username=postgres --dbname=postgres <<'SQL'
\set username `cat /etc/postgresql/credentials/username`
\set password `cat /etc/postgresql/credentials/password`
ALTER ROLE :"username" PASSWORD :'password';

\set username `cat /etc/postgresql/backup-credentials/username`
\set password `cat /etc/postgresql/backup-credentials/password`
SELECT format('CREATE ROLE %I LOGIN', :'username')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'username') \gexec
ALTER ROLE :"username" PASSWORD :'password' CONNECTION LIMIT 2;
ALTER ROLE :"username" SET default_transaction_read_only = on;
GRANT pg_read_all_data TO :"username";
SQL
