"""The one way to connect to MySQL and MariaDB."""
