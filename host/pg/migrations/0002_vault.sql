-- The vault's tables. Format of the sealed columns (alg, salt, nonce, commitment, ciphertext): format.hpp.
-- The server sees ciphertext only. workspace_id leads every key, so the tables distribute by it.

-- What a workspace's secrets are sealed with; itself sealed ("wrapped") by a root key, which is never
-- in the database. data_key_id counts from 1 within the workspace and is never given twice: rows stay.
--   pending       made, not yet written with        active     new secrets are sealed with it
--   decrypt_only  old secrets are opened with it    retired    nothing is sealed with it any more
--   destroyed     the key itself is gone, for good
CREATE TABLE sluice.data_key (
  workspace_id     bigint      NOT NULL REFERENCES sluice.workspace (workspace_id),
  data_key_id      bigint      NOT NULL CHECK (data_key_id > 0),
  state            text        NOT NULL
    CHECK (state IN ('pending', 'active', 'decrypt_only', 'retired', 'destroyed')),
  root_key_id      text        NOT NULL CHECK (root_key_id ~ '^[0-9a-f]{8}$'),
  alg              smallint    NOT NULL CHECK (alg BETWEEN 1 AND 255),
  salt             bytea       CHECK (octet_length(salt) = 16),
  nonce            bytea       CHECK (octet_length(nonce) = 24),
  commitment       bytea       CHECK (octet_length(commitment) = 32),
  ciphertext       bytea       CHECK (octet_length(ciphertext) BETWEEN 16 AND 256),
  created_at       timestamptz NOT NULL,
  state_changed_at timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, data_key_id),
  CONSTRAINT data_key_material CHECK (
    num_nulls(salt, nonce, commitment, ciphertext)
      = CASE WHEN state = 'destroyed' THEN 4 ELSE 0 END)
);
CREATE UNIQUE INDEX data_key_one_active ON sluice.data_key (workspace_id) WHERE state = 'active';
-- "Is anything left under this root key?"
CREATE INDEX data_key_by_root_key ON sluice.data_key (root_key_id, workspace_id, data_key_id);

-- Versions of secrets. connection_id 0: the workspace's own. A version number is never given twice for
-- a name: revoked versions stay as rows, without their value.
--   pending  stored, not used for requests yet   current   what is used
--   previous replaced, accepted until valid_until revoked  value gone
CREATE TABLE sluice.secret (
  workspace_id     bigint      NOT NULL REFERENCES sluice.workspace (workspace_id),
  connection_id    bigint      NOT NULL CHECK (connection_id >= 0),
  name             text        COLLATE "C" NOT NULL CHECK (name ~ '^[A-Za-z0-9_.:/-]{1,128}$'),
  version          bigint      NOT NULL CHECK (version > 0),
  state            text        NOT NULL
    CHECK (state IN ('pending', 'current', 'previous', 'revoked')),
  data_key_id      bigint      NOT NULL,
  alg              smallint    NOT NULL CHECK (alg BETWEEN 1 AND 255),
  salt             bytea       CHECK (octet_length(salt) = 16),
  nonce            bytea       CHECK (octet_length(nonce) = 24),
  commitment       bytea       CHECK (octet_length(commitment) = 32),
  ciphertext       bytea       CHECK (octet_length(ciphertext) BETWEEN 16 AND 65552),
  fingerprint      text        NOT NULL CHECK (fingerprint ~ '^[0-9a-f]{16}$'),
  created_at       timestamptz NOT NULL,
  state_changed_at timestamptz NOT NULL,
  valid_until      timestamptz,
  PRIMARY KEY (workspace_id, connection_id, name, version),
  FOREIGN KEY (workspace_id, data_key_id) REFERENCES sluice.data_key (workspace_id, data_key_id),
  CONSTRAINT secret_material CHECK (
    num_nulls(salt, nonce, commitment, ciphertext) = CASE WHEN state = 'revoked' THEN 4 ELSE 0 END),
  CONSTRAINT secret_previous_ends CHECK ((state = 'previous') = (valid_until IS NOT NULL))
);
CREATE UNIQUE INDEX secret_one_current ON sluice.secret (workspace_id, connection_id, name)
  WHERE state = 'current';
CREATE UNIQUE INDEX secret_one_pending ON sluice.secret (workspace_id, connection_id, name)
  WHERE state = 'pending';
-- "What is still sealed with this data key?", for rewrapping in batches.
CREATE INDEX secret_by_data_key ON sluice.secret (workspace_id, data_key_id, connection_id, name, version)
  WHERE state <> 'revoked';
CREATE INDEX secret_expiring ON sluice.secret (valid_until) WHERE state = 'previous';
