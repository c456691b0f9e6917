/* device_server ADDRESS PORT FOLDER SECRET_FILE: run what an optc client sends, one client at a time.
 *
 * TVM's RPC server would need Python or TVM's runtime on the board, and calls functions of TVM's own calling
 * convention; an artifact is a C library without dependencies. So this is a program without dependencies too.
 *
 * Frames: kind (1 byte), length (8 bytes, little endian), content. Of the client: H proof, P put a file, R run a
 * program, G get a file; answers: K done, E failed, B busy, T took too long. A client that knows the secret can run any
 * program with the rights of this one; nothing is encrypted.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sha256.h"

#define GREETING "optc-device-1\n"
enum { NONCE = 32, NAME = 128, SHORT = 1 << 16, WORDS = 256, LEAST_SECRET = 16, STRANGER_SECONDS = 10, IDLE_SECONDS = 600 };
static const uint64_t MOST_OUTPUT = 64u << 20;

static char secret[4096];
static size_t secret_size;

static int fail(const char* what) {
  fprintf(stderr, "error: %s: %s\n", what, strerror(errno));
  return 1;
}

/* Files: names without folders, in the session's folder, which is the working directory. */

static void empty_folder(void) {
  DIR* folder = opendir(".");
  if (!folder) return;
  for (struct dirent* entry; (entry = readdir(folder));) unlink(entry->d_name);
  closedir(folder);
}

static int is_name(const char* name) {
  static const char ALLOWED[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  return name[0] && name[0] != '.' && name[strspn(name, ALLOWED)] == 0;
}

/* Frames. A connection that fails ends the session: its process. */

static void receive(int client, void* data, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t count = read(client, (char*)data + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) exit(0);
    done += (size_t)count;
  }
}

static void send_all(int client, const void* data, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t count = send(client, (const char*)data + done, size - done, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) exit(0);
    done += (size_t)count;
  }
}

static void put_u64(uint8_t* at, uint64_t value) {
  for (int i = 0; i < 8; ++i) at[i] = (uint8_t)(value >> 8 * i);
}

static void send_header(int client, char kind, uint64_t size) {
  uint8_t header[9] = {(uint8_t)kind};
  put_u64(header + 1, size);
  send_all(client, header, sizeof header);
}

static void answer(int client, char kind, const char* text) {
  send_header(client, kind, strlen(text));
  send_all(client, text, strlen(text));
}

static void discard(int client, uint64_t size) {
  char piece[SHORT];
  while (size) {
    const size_t count = size < sizeof piece ? (size_t)size : sizeof piece;
    receive(client, piece, count);
    size -= count;
  }
}

static void allow_silence(int client, int seconds) {
  const struct timeval silence = {seconds, 0};
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
  setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence);
}

/* Requests. */

static void put(int client, uint64_t size) {
  uint8_t head[2];
  char name[NAME * 2], piece[SHORT];
  if (size < sizeof head) exit(0);
  receive(client, head, sizeof head);
  size -= sizeof head;
  if (size < head[1]) exit(0);
  receive(client, name, head[1]);
  name[head[1]] = 0;
  size -= head[1];
  if (!is_name(name)) {
    discard(client, size);
    answer(client, 'E', "no name of a file");
    return;
  }
  unlink(name); /* one that runs could not be written */
  const int file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, head[0] ? 0700 : 0600);
  int fault = file < 0 ? errno : 0;
  while (size) {
    const size_t count = size < sizeof piece ? (size_t)size : sizeof piece;
    receive(client, piece, count);
    size -= count;
    for (size_t done = 0; !fault && done < count;) {
      const ssize_t written = write(file, piece + done, count - done);
      if (written < 0) fault = errno;
      else done += (size_t)written;
    }
  }
  if (file >= 0 && close(file) != 0 && !fault) fault = errno;
  if (fault) {
    unlink(name);
    answer(client, 'E', strerror(fault));
  } else {
    answer(client, 'K', "");
  }
}

static void get(int client, uint64_t size) {
  char name[NAME * 2], piece[SHORT];
  struct stat status;
  if (size >= sizeof name) exit(0);
  receive(client, name, (size_t)size);
  name[size] = 0;
  const int file = is_name(name) ? open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : (errno = ENOENT, -1);
  if (file < 0 || fstat(file, &status) != 0) {
    answer(client, 'E', strerror(errno));
    return;
  }
  send_header(client, 'K', (uint64_t)status.st_size);
  for (off_t left = status.st_size; left > 0;) {
    const ssize_t count = read(file, piece, left < (off_t)sizeof piece ? (size_t)left : sizeof piece);
    if (count <= 0) exit(0); /* half a file: the client sees the connection end */
    send_all(client, piece, (size_t)count);
    left -= count;
  }
  close(file);
}

static int64_t milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static pid_t start(char** words, int output, int errors) {
  const pid_t parent = getpid(), child = fork();
  if (child != 0) return child;
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, 0);
  dup2(output, 1);
  dup2(errors, 2);
  signal(SIGPIPE, SIG_DFL);
  execvp(words[0], words);
  fprintf(stderr, "%s: %s\n", words[0], strerror(errno));
  _exit(127);
}

/* What a file of the folder holds, at most MOST_OUTPUT bytes of it. */
static uint64_t size_of(int file) {
  struct stat status;
  if (fstat(file, &status) != 0) return 0;
  return (uint64_t)status.st_size < MOST_OUTPUT ? (uint64_t)status.st_size : MOST_OUTPUT;
}

static void send_file(int client, int file, uint64_t size) {
  char piece[SHORT];
  for (uint64_t done = 0; done < size;) {
    const size_t wanted = size - done < sizeof piece ? (size_t)(size - done) : sizeof piece;
    const ssize_t count = pread(file, piece, wanted, (off_t)done);
    if (count <= 0) exit(0);
    send_all(client, piece, (size_t)count);
    done += (uint64_t)count;
  }
}

static void run(int client, uint64_t size) {
  uint8_t head[4];
  char text[SHORT], *words[WORDS];
  if (size < sizeof head + 2 || size - sizeof head > sizeof text) exit(0);
  receive(client, head, sizeof head);
  size -= sizeof head;
  receive(client, text, (size_t)size);
  if (text[size - 1]) exit(0);
  int count = 0;
  for (size_t at = 0; at < size && count < WORDS - 1; at += strlen(text + at) + 1) words[count++] = text + at;
  words[count] = NULL;

  const int flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC;
  const int output = open("stdout", flags, 0600), errors = open("stderr", flags, 0600);
  if (output < 0 || errors < 0) {
    answer(client, 'E', strerror(errno));
    return;
  }
  const uint32_t limit = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
  const int64_t end = milliseconds() + limit;
  const pid_t child = start(words, output, errors);
  if (child < 0) {
    answer(client, 'E', strerror(errno));
    return;
  }
  int status = 0, late = 0;
  for (int64_t wait_ms = 1; waitpid(child, &status, WNOHANG) == 0;) {
    struct pollfd connection = {client, POLLIN, 0};
    /* The client says nothing while a program runs: what can be read is the end of the connection. */
    const int gone = poll(&connection, 1, (int)wait_ms) > 0;
    late = milliseconds() >= end;
    if (gone || late) {
      kill(-child, SIGKILL);
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      if (gone) exit(0);
      break;
    }
    if (wait_ms < 50) wait_ms *= 2; /* seldom, so that the program is not disturbed */
  }
  if (late) {
    answer(client, 'T', "");
  } else {
    const int32_t code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    const uint64_t printed = size_of(output), said = size_of(errors);
    uint8_t record[12];
    for (int i = 0; i < 4; ++i) record[i] = (uint8_t)((uint32_t)code >> 8 * i);
    put_u64(record + 4, printed);
    send_header(client, 'K', sizeof record + printed + said);
    send_all(client, record, sizeof record);
    send_file(client, output, printed);
    send_file(client, errors, said);
  }
  close(output);
  close(errors);
}

/* Sessions. */

static void serve(int client) {
  uint8_t greeting[sizeof GREETING - 1 + NONCE], proof[32], expected[32], header[9], differs = 0;
  memcpy(greeting, GREETING, sizeof GREETING - 1);
  const int random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (random < 0) exit(1);
  receive(random, greeting + sizeof GREETING - 1, NONCE);
  close(random);
  send_all(client, greeting, sizeof greeting);
  receive(client, header, sizeof header);
  if (header[0] != 'H' || header[1] != sizeof proof) exit(0);
  receive(client, proof, sizeof proof);
  hmac_sha256(secret, secret_size, greeting, sizeof greeting, expected);
  for (size_t i = 0; i < sizeof proof; ++i) differs |= proof[i] ^ expected[i];
  if (differs) {
    answer(client, 'E', "the secret is another one");
    exit(0);
  }
  allow_silence(client, IDLE_SECONDS);
  struct utsname system;
  char facts[512];
  uname(&system);
  snprintf(facts, sizeof facts, "%s %s %ld", system.sysname, system.machine, sysconf(_SC_NPROCESSORS_ONLN));
  answer(client, 'K', facts);
  for (;;) {
    receive(client, header, sizeof header);
    uint64_t size = 0;
    for (int i = 0; i < 8; ++i) size |= (uint64_t)header[1 + i] << 8 * i;
    switch (header[0]) {
      case 'P': put(client, size); break;
      case 'G': get(client, size); break;
      case 'R': run(client, size); break;
      default: exit(0);
    }
  }
}

static int read_secret(const char* path) {
  FILE* file = fopen(path, "rb");
  if (!file) return -1;
  secret_size = fread(secret, 1, sizeof secret, file);
  fclose(file);
  size_t first = 0;
  while (secret_size && strchr(" \t\r\n", secret[secret_size - 1])) --secret_size;
  while (first < secret_size && strchr(" \t\r\n", secret[first])) ++first;
  secret_size -= first;
  memmove(secret, secret + first, secret_size);
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: %s ADDRESS PORT FOLDER SECRET_FILE\n", argv[0]);
    return 2;
  }
  if (read_secret(argv[4]) != 0) return fail(argv[4]);
  if (secret_size < LEAST_SECRET) {
    fprintf(stderr, "error: %s: at least %d bytes are needed\n", argv[4], LEAST_SECRET);
    return 1;
  }
  if (chdir(argv[3]) != 0) return fail(argv[3]);
  /* A folder of its own, since a session empties it. */
  if ((mkdir("optc-session", 0700) != 0 && errno != EEXIST) || chdir("optc-session") != 0) return fail(argv[3]);
  empty_folder();
  signal(SIGPIPE, SIG_IGN);

  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
  if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) {
    fprintf(stderr, "error: %s is no IPv4 address\n", argv[1]);
    return 1;
  }
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
  socklen_t length = sizeof address;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, (struct sockaddr*)&address, sizeof address) != 0 || listen(listener, 8) != 0 ||
      getsockname(listener, (struct sockaddr*)&address, &length) != 0)
    return fail(argv[1]);
  printf("listening on %s:%d\n", argv[1], ntohs(address.sin_port));
  fflush(stdout);

  const pid_t server = getpid();
  pid_t session = 0;
  for (;;) {
    struct pollfd waiting = {listener, POLLIN, 0};
    const int ready = poll(&waiting, 1, session ? 100 : -1);
    if (session && waitpid(session, NULL, WNOHANG) == session) {
      session = 0;
      empty_folder();
    }
    if (ready <= 0) continue;
    const int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) continue;
    allow_silence(client, STRANGER_SECONDS);
    setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    const pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != server) _exit(1);
      close(listener);
      if (session) {
        uint8_t nothing[sizeof GREETING - 1 + NONCE] = GREETING;
        allow_silence(client, 2);
        send_all(client, nothing, sizeof nothing);
        receive(client, nothing, 9 + 32);
        answer(client, 'B', "");
        exit(0);
      }
      serve(client);
    }
    close(client);
    if (child > 0 && !session) session = child;
    else if (child > 0) waitpid(child, NULL, 0);
  }
}
