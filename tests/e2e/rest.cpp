#include "e2e/rest.hpp"

#include <curl/curl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/process.hpp"

namespace sluice::e2e {
namespace {

std::size_t append(char* data, std::size_t size, std::size_t count, void* out) {
  static_cast<std::string*>(out)->append(data, size * count);
  return size * count;
}

}  // namespace

Reply perform(const std::string& url, const Ask& ask) {
  Reply reply;
  CURL* curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_URL, (url + ask.path).c_str());
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply.text);
  if (ask.body) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(ask.body->size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, ask.body->c_str());
  }
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, ask.method.c_str());
  if (ask.method == "HEAD") curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  curl_slist* headers = curl_slist_append(nullptr, ("Content-Type: " + ask.content_type).c_str());
  if (!ask.token.empty())
    headers = curl_slist_append(headers, ("Authorization: Bearer " + ask.token).c_str());
  if (!ask.accept.empty()) headers = curl_slist_append(headers, ("Accept: " + ask.accept).c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  CURLcode code = curl_easy_perform(curl);
  reply.cut = ask.may_be_cut && (code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR);
  if (reply.cut) code = CURLE_OK;
  EXPECT_EQ(code, CURLE_OK) << ask.method << " " << ask.path << ": " << curl_easy_strerror(code);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
  const char* type = nullptr;
  curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
  if (type != nullptr) reply.content_type = type;
  curl_header* link = nullptr;
  if (curl_easy_header(curl, "Link", 0, CURLH_HEADER, -1, &link) == CURLHE_OK)
    reply.link = link->value;
  curl_slist_free_all(headers);
  curl_easy_cleanup(curl);
  return reply;
}

std::string new_token(const std::string& url, const std::string& by, const std::string& workspace,
                      const std::string& role) {
  Ask ask;
  ask.method = "POST";
  ask.path = "/v1/workspaces/" + workspace + "/tokens";
  ask.token = by;
  ask.body = R"({"name":"test","role":")" + role + "\"}";
  return perform(url, ask).document().at("token").get<std::string>();
}

Said run_sluice(const std::filesystem::path& directory, const std::string& url,
                const std::string& token, std::vector<std::string> arguments,
                std::map<std::string, std::string> environment) {
  static int runs = 0;
  Launch launch;
  launch.program = std::string(SLUICE_BINARY_DIR) + "/bin/sluice";
  launch.arguments = std::move(arguments);
  launch.environment = std::move(environment);
  launch.environment["SLUICE_URL"] = url;
  launch.environment["SLUICE_TOKEN"] = token;
  launch.environment["SLUICE_WORKSPACE"] = "acme";
  const std::string name = "cli." + std::to_string(++runs);
  launch.output = directory / (name + ".out");
  launch.errors = directory / (name + ".err");
  Process process(launch);
  Said said;
  said.code = process.wait(std::chrono::seconds(120));
  said.output = read_file(launch.output);
  said.errors = read_file(launch.errors);
  return said;
}

Said on_a_terminal(const std::string& url, const std::string& token,
                   const std::vector<std::string>& arguments, const std::string& keys) {
  winsize size{};
  size.ws_col = 80;
  size.ws_row = 24;
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (child == 0) {
    ::setenv("SLUICE_URL", url.c_str(), 1);
    ::setenv("SLUICE_TOKEN", token.c_str(), 1);
    ::setenv("SLUICE_WORKSPACE", "acme", 1);
    ::setenv("TERM", "xterm", 1);
    ::unsetenv("NO_COLOR");
    const std::string program = std::string(SLUICE_BINARY_DIR) + "/bin/sluice";
    std::vector<char*> words = {const_cast<char*>(program.c_str())};
    for (const std::string& argument : arguments)
      words.push_back(const_cast<char*>(argument.c_str()));
    words.push_back(nullptr);
    ::execv(program.c_str(), words.data());
    ::_exit(127);
  }
  Said said;
  const auto begin = std::chrono::steady_clock::now();
  bool pressed = false;
  for (char piece[4096];;) {
    pollfd output{terminal, POLLIN, 0};
    if (::poll(&output, 1, 200) > 0) {
      const ssize_t count = ::read(terminal, piece, sizeof piece);
      if (count <= 0) break;  // EIO: it has ended
      said.output.append(piece, static_cast<std::size_t>(count));
    }
    const auto passed = std::chrono::steady_clock::now() - begin;
    if (!pressed && !keys.empty() && passed > std::chrono::seconds(2)) {
      pressed = ::write(terminal, keys.data(), keys.size()) > 0;
    }
    if (passed > std::chrono::seconds(30)) ::kill(child, SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(terminal);
  said.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return said;
}

}  // namespace sluice::e2e
