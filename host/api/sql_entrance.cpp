#include "api/sql_entrance.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string_view>

namespace sluice::api {
namespace {

constexpr std::string_view kDefaultPort = "5432";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string first_of(const std::string& list) { return list.substr(0, list.find(',')); }

using Options = std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)>;

std::string value_of(const Options& options, std::string_view keyword) {
  for (const PQconninfoOption* one = options.get(); one != nullptr && one->keyword; ++one)
    if (keyword == one->keyword && one->val != nullptr) return one->val;
  return {};
}

}  // namespace

SqlEntrance entrance_of(const std::string& conninfo) {
  const Options said(PQconninfoParse(conninfo.c_str(), nullptr), &PQconninfoFree);
  const Options otherwise(PQconndefaults(), &PQconninfoFree);
  const auto option = [&](std::string_view keyword) {
    std::string value = value_of(said, keyword);
    return value.empty() ? value_of(otherwise, keyword) : value;
  };
  SqlEntrance entrance;
  entrance.host = first_of(option("host"));
  if (entrance.host.empty()) entrance.host = first_of(option("hostaddr"));
  if (entrance.host.empty()) entrance.host = "localhost";
  entrance.port = first_of(option("port"));
  if (entrance.port.empty()) entrance.port = kDefaultPort;
  entrance.database = option("dbname");
  if (entrance.database.empty()) entrance.database = option("user");
  entrance.tls_mode = value_of(said, "sslmode");
  return entrance;
}

std::string sql_url(const SqlEntrance& entrance, const std::string& login,
                    const std::string& password, bool by_tcp) {
  const std::string who = fmt::format("{}:{}", escaped(login), escaped(password));
  const std::string database = escaped(entrance.database);
  if (by_tcp) {
    return fmt::format("postgresql://{}@{}:{}/{}?sslmode=require", who,
                       reachable_name(entrance.tcp_host), entrance.port, database);
  }
  if (entrance.host.starts_with('/')) {
    const std::string port =
        entrance.port == kDefaultPort ? "" : fmt::format("&port={}", entrance.port);
    return fmt::format("postgresql://{}@/{}?host={}{}", who, database, escaped(entrance.host),
                       port);
  }
  const std::string mode =
      entrance.tls_mode.empty() ? "" : fmt::format("?sslmode={}", escaped(entrance.tls_mode));
  return fmt::format("postgresql://{}@{}:{}/{}{}", who, reachable_name(entrance.host),
                     entrance.port, database, mode);
}

std::string reachable_name(const std::string& address) {
  if (address == "0.0.0.0" || address == "::" || address == "*") {
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0') return name.data();
  }
  return address.find(':') == std::string::npos ? address : fmt::format("[{}]", address);
}

}  // namespace sluice::api
