// The REST API, from the command line's side: one blocking request at a time.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "cli/table.hpp"

namespace sluice::cli {

using Query = std::vector<std::pair<std::string, std::string>>;

struct ClientOptions {
  std::string url;  ///< "http://127.0.0.1:8420"
  std::string token;
  std::string workspace;  ///< empty: the one that the token knows, else main (Client::workspace())
  std::string ca_file;    ///< PEM; instead of the system's authorities
  std::chrono::milliseconds most{0};  ///< a whole request; zero: no bound but that of connecting
};

/// Failures are thrown: Failure with the problem's code, detail and hint; "host.unreachable" when
/// nothing answers.
class Client {
 public:
  explicit Client(ClientOptions options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// `path` below the workspace, beginning with '/'.
  json get(const std::string& path, const Query& query = {});
  json send(const std::string& method, const std::string& path, const json& body);
  /// Asks for another form than JSON, and gives it to `write` as it comes, until that says false;
  /// whether a Link header leads to more. Failure also when the host has no such form
  /// ("host.nonsense"), and "host.answer_cut" when the answer broke off.
  bool download(const std::string& path, const Query& query, const std::string& media_type,
                const std::function<bool(std::string_view)>& write);
  /// Sends a body read piece by piece; `read` returns an empty piece at the end; what
  /// it throws ends the request, and comes out here.
  json upload(const std::string& path, const Query& query, const std::string& content_type,
              const std::function<std::string()>& read);
  /// The same outside of any workspace ("/v1/workspaces").
  json global(const std::string& method, const std::string& path, const json& body = nullptr);

  /// Who the token is, and which workspaces it knows.
  json me();
  /// Where get() and send() go. Asked once where none was named: the only one that the token knows,
  /// or main among several; Failure(bad_input, "workspace.which") where there is no main.
  const std::string& workspace();
  /// What release the host is of; empty where nobody says. Never throws.
  std::string host_version();
  [[nodiscard]] const std::string& url() const { return options_.url; }

  [[nodiscard]] static std::string escape(const std::string& part);

 private:
  json perform(const std::string& method, const std::string& url, const std::string* body,
               const std::string& content_type, const std::function<std::string()>* read);
  /// What each request has but for its headers.
  void prepare(const std::string& url);
  [[nodiscard]] std::string workspace_url(const std::string& path, const Query& query);

  ClientOptions options_;
  void* curl_;
};

}  // namespace sluice::cli
