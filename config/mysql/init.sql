-- The login of cdc, with the least rights that it can do its work with.
-- Its password is the content of the file mysql_cdc_password in secure_file_priv.

CREATE DATABASE IF NOT EXISTS shop;

SET @password = TRIM(TRAILING '\n' FROM LOAD_FILE(CONCAT(
  TRIM(TRAILING '/' FROM @@secure_file_priv), '/mysql_cdc_password')));

-- CREATE USER takes no variable.  A missing file makes this NULL, which PREPARE refuses.
SET @create_user = CONCAT('CREATE USER cdc@''%'' IDENTIFIED BY ', QUOTE(NULLIF(@password, '')));
SET @create_user = IF(@password IS NULL OR @password = '', NULL, @create_user);
PREPARE create_user FROM @create_user;
EXECUTE create_user;
DEALLOCATE PREPARE create_user;
SET @password = NULL, @create_user = NULL;

-- The binlog: its rows, and where it ends.
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO cdc@'%';
-- The rows that stand there already.  Narrow it to the captured tables.
GRANT SELECT ON shop.* TO cdc@'%';

CREATE TABLE IF NOT EXISTS shop.your_table (
  id INT PRIMARY KEY,
  name VARCHAR(80) NOT NULL
);
