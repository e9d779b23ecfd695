-- Runs once, on an empty data directory, as the superuser over the local socket.
-- The services' role owns their database and nothing else; pg_monitor is for the exporter.
\set username `cat /etc/postgresql/credentials/username`
\set password `cat /etc/postgresql/credentials/password`
CREATE ROLE :"username" LOGIN PASSWORD :'password';
GRANT pg_monitor TO :"username";
ALTER DATABASE ecommerce OWNER TO :"username";

-- From here on the superuser can only come in over the local socket.
ALTER ROLE postgres PASSWORD NULL;
