// From what libpq reports to a QueryError. Internal to pg/.
#pragma once

#include <string_view>

#include "pg/error.hpp"

struct pg_result;

namespace sluice::pg {

/// What losing the answer to a statement would mean.
enum class Loss {
  nothing_done,  ///< inside a transaction, or a plain read: the server undoes or never did anything
  in_doubt,      ///< COMMIT, or a write that commits by itself
};

/// The text of COMMIT or END, in any case, with or without a semicolon.
[[nodiscard]] bool is_commit(std::string_view sql);
/// SELECT, SHOW, VALUES, TABLE, EXPLAIN, BEGIN, SET, LISTEN … A SELECT is taken to change nothing.
[[nodiscard]] bool is_plain_read(std::string_view sql);

[[nodiscard]] ErrorKind kind_of_sqlstate(std::string_view sqlstate);
/// Classes 08, 57P0x …: the server ends the connection along with the statement.
[[nodiscard]] bool ends_connection(std::string_view sqlstate);

/// The first line and 120 characters of a statement, for messages.
[[nodiscard]] std::string beginning_of(std::string_view sql);

/// A result with an error in it. `loss` matters when the error ends the connection.
[[nodiscard]] QueryError refused(const pg_result* result, std::string_view sql, Loss loss);
[[nodiscard]] QueryError lost(std::string_view reason, std::string_view sql, Loss loss);
[[nodiscard]] QueryError missed_deadline(std::string_view sql, Loss loss);
[[nodiscard]] QueryError cancelled(std::string_view sql, Loss loss);
/// `message` is libpq's, with PQERRORS_VERBOSE, so that it contains the SQLSTATE if there is one.
[[nodiscard]] QueryError connect_failed(std::string_view message, std::string_view target);

}  // namespace sluice::pg
