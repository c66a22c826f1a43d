// REST and the command line as a client sees them: whole answers, exit codes, texts.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sluice::e2e {

struct Reply {
  long status = 0;
  std::string content_type;
  std::string link;  ///< the header, or empty
  std::string text;
  bool cut = false;  ///< it broke off
  [[nodiscard]] nlohmann::json document() const {
    return nlohmann::json::parse(text, nullptr, false);
  }
  /// Of a problem; empty otherwise.
  [[nodiscard]] std::string code() const {
    const nlohmann::json body = document();
    return body.is_object() ? body.value("code", "") : "";
  }
};

struct Ask {
  std::string method = "GET";
  std::string path;
  std::string token;
  std::optional<std::string> body;
  std::string content_type = "application/json";
  std::string accept = {};
  bool may_be_cut = false;
};

/// One request to the host at `url`; the path goes out as it is. Fails the test when no answer
/// comes.
Reply perform(const std::string& url, const Ask& ask);

/// A token of that role, made with an operator's.
std::string new_token(const std::string& url, const std::string& by, const std::string& workspace,
                      const std::string& role);

/// The command line as a real program.
struct Said {
  int code = 0;
  std::string output, errors;
};

/// Runs `sluice` for workspace acme; its output goes through files in `directory`.
Said run_sluice(const std::filesystem::path& directory, const std::string& url,
                const std::string& token, std::vector<std::string> arguments,
                std::map<std::string, std::string> environment = {});

/// What a person sees of `sluice` in a terminal of 80 x 24, who presses `keys` after two seconds.
Said on_a_terminal(const std::string& url, const std::string& token,
                   const std::vector<std::string>& arguments, const std::string& keys);

}  // namespace sluice::e2e
