# Process 1 of a container that asked for one: see reaper.py, which holds these instructions as bytes.
# Every signal is blocked when this starts, so none is lost; each is taken one by one.
# Sources: syscall(2), rt_sigtimedwait(2), wait4(2), and the kernel's table of calls.
    .intel_syntax noprefix
    .globl _start
_start:
    push    -1                      # the set of all signals, at [rsp + 8]
    push    0                       # a status to be filled in, at [rsp]
    xor     ebx, ebx                # whether the child has ended
take:
    lea     rdi, [rsp + 8]
    xor     esi, esi
    xor     edx, edx
    mov     r10d, 8
    mov     eax, 128                # rt_sigtimedwait(set, NULL, NULL, 8)
    syscall
    test    eax, eax
    js      take
    cmp     eax, 17                 # SIGCHLD
    je      reap
    mov     esi, eax
    mov     edi, [rip + child]
    mov     eax, 62                 # kill(child, signal)
    syscall
    jmp     take
reap:
    mov     rdi, -1
    mov     rsi, rsp
    mov     edx, 1                  # WNOHANG
    xor     r10d, r10d
    mov     eax, 61                 # wait4(-1, status, WNOHANG, NULL)
    syscall
    test    eax, eax
    jle     reaped
    cmp     eax, [rip + child]
    jne     reap
    mov     ebp, [rsp]
    inc     ebx
    jmp     reap
reaped:
    test    ebx, ebx
    jz      take
    movzx   edi, bp
    shr     edi, 8                  # the exit code
    and     ebp, 127                # the signal that ended it
    jz      leave
    lea     edi, [rbp + 128]
leave:
    mov     eax, 231                # exit_group(code)
    syscall
child:
    .long   0                       # the child's pid, written before this starts
