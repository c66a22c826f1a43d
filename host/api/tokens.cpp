#include "api/tokens.hpp"

#include "base/printable.hpp"

#include <fmt/format.h>
#include <sodium.h>

#include <strings.h>

#include <array>
#include <charconv>

namespace sluice::api {
namespace {

constexpr std::size_t kSecretBytes = 24;

const pg::Statement kInsert{"token_insert", R"(
  insert into sluice.token (workspace_id, name, role, hash) values ($1, $2, $3, $4) returning token_id)"};

const pg::Statement kFind{"token_find", R"(
  select hash, role, name from sluice.token where workspace_id = $1 and token_id = $2 and revoked_at is null)"};

const pg::Statement kHashes{"token_hashes", R"(
  select t.workspace_id, t.token_id, t.hash
  from unnest($1::bigint[], $2::bigint[]) claimed (w, i)
  join sluice.token t on t.workspace_id = claimed.w and t.token_id = claimed.i
  where t.revoked_at is null)"};

std::optional<std::int64_t> take_number(std::string_view& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end == text.data() + text.size() || *end != '_') return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return number;
}

/// The scheme's name is case-insensitive (RFC 9110).
bool is_bearer(std::string_view authorization) {
  return authorization.size() >= 7 && strncasecmp(authorization.data(), "Bearer ", 7) == 0;
}

}  // namespace

std::string_view to_string(Role role) {
  static constexpr std::array<std::string_view, 3> kNames = {"reader", "admin", "operator"};
  return kNames[static_cast<std::size_t>(role) - 1];
}

std::optional<Role> role_of(std::string_view name) {
  for (const Role role : {Role::reader, Role::admin, Role::operator_}) {
    if (to_string(role) == name) return role;
  }
  return std::nullopt;
}

Bytes token_hash(std::string_view secret) {
  Bytes hash(32);
  crypto_generichash(hash.data(), hash.size(), as_bytes(secret).data(), secret.size(), nullptr, 0);
  return hash;
}

std::optional<TokenClaim> claim_of(std::string_view authorization) {
  if (!is_bearer(authorization)) return std::nullopt;
  std::string_view text = authorization.substr(7);
  if (!text.starts_with("slc_")) return std::nullopt;
  text.remove_prefix(4);
  const auto workspace = take_number(text);
  const auto token = workspace ? take_number(text) : std::nullopt;
  if (!token || text.empty()) return std::nullopt;
  return TokenClaim{{*workspace, *token}, token_hash(text)};
}

bool is_same_hash(const Bytes& a, const Bytes& b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

Task<std::map<TokenKey, Bytes>> hashes_of(pg::Pool& pool, std::vector<TokenKey> tokens) {
  pg::Array workspaces(pg::Oid::int8), numbers(pg::Oid::int8);
  for (const auto& [workspace, number] : tokens) {
    workspaces.add(workspace);
    numbers.add(number);
  }
  pg::Params params(std::move(workspaces), std::move(numbers));
  const auto rows = co_await pool.query(kHashes, std::move(params));
  std::map<TokenKey, Bytes> hashes;
  for (int row = 0; row < rows.rows(); ++row) {
    const TokenKey key(rows.get<std::int64_t>(row, 0), rows.get<std::int64_t>(row, 1));
    hashes.emplace(key, rows.get<Bytes>(row, 2));
  }
  co_return hashes;
}

std::string Principal::text() const {
  std::string all = fmt::format("token {} '{}'", token_id, printable(name));
  if (!peer.empty()) all += " from " + peer;
  return all;
}

Task<std::string> create_token(pg::Connection& connection, WorkspaceId workspace, std::string name,
                               Role role) {
  Bytes random(kSecretBytes);
  randombytes_buf(random.data(), random.size());
  const std::string secret = to_base64url(random);
  pg::Params params(workspace, name, to_string(role), token_hash(secret));
  const auto made = co_await connection.query(kInsert, std::move(params));
  co_return fmt::format("slc_{}_{}_{}", workspace.value, made.get<std::int64_t>(0, 0), secret);
}

Task<Result<Principal>> authenticate(pg::Pool& pool, std::string authorization) {
  if (!is_bearer(authorization)) {
    co_return fail(ErrorKind::denied, "token.missing", "this needs a token",
                   fmt::format("Send 'Authorization: Bearer slc_…'; {}", kLostOperatorToken));
  }
  const auto unknown = [] {
    return fail(ErrorKind::denied, "token.unknown", "the token is not valid here",
                fmt::format("Ask an admin of your workspace, or an operator, for a token; {}",
                            kLostOperatorToken));
  };
  const auto claim = claim_of(authorization);
  if (!claim) co_return unknown();
  const auto [workspace, number] = claim->key;
  const auto found = co_await pool.query(kFind, pg::Params(workspace, number));
  if (found.empty()) co_return unknown();
  const Bytes expected = found.get<Bytes>(0, 0);
  if (!is_same_hash(expected, claim->hash)) co_return unknown();
  Principal principal;
  principal.workspace = WorkspaceId(workspace);
  principal.token_id = number;
  principal.role = role_of(found.text(0, 1)).value_or(Role::reader);
  principal.name = found.get<std::string>(0, 2);
  co_return principal;
}

Error revoked_meanwhile() {
  return Error(ErrorKind::denied, "token.revoked",
               "the token was revoked while this request went on; what it had stored by then "
               "stays, and nothing more was",
               fmt::format("Go on with another token; {}", kLostOperatorToken));
}

}  // namespace sluice::api
