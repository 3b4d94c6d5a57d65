// Process 1 of a container that asked for one: see reaper.py, which holds these instructions as bytes.
// Every signal is blocked when this starts, so none is lost; each is taken one by one.
// Sources: syscall(2), rt_sigtimedwait(2), wait4(2), and the kernel's generic table of calls.
    .globl _start
_start:
    mov     x9, #-1
    stp     xzr, x9, [sp, #-16]!    // a status to be filled in, at [sp]; the set of all signals, at [sp + 8]
    mov     w20, #0                 // whether the child has ended
take:
    add     x0, sp, #8
    mov     x1, #0
    mov     x2, #0
    mov     x3, #8
    mov     x8, #137                // rt_sigtimedwait(set, NULL, NULL, 8)
    svc     #0
    cmp     w0, #0
    b.lt    take
    cmp     w0, #17                 // SIGCHLD
    b.eq    reap
    mov     w1, w0
    ldr     w0, child
    mov     x8, #129                // kill(child, signal)
    svc     #0
    b       take
reap:
    mov     x0, #-1
    mov     x1, sp
    mov     x2, #1                  // WNOHANG
    mov     x3, #0
    mov     x8, #260                // wait4(-1, status, WNOHANG, NULL)
    svc     #0
    cmp     w0, #0
    b.le    reaped
    ldr     w1, child
    cmp     w0, w1
    b.ne    reap
    ldr     w19, [sp]
    mov     w20, #1
    b       reap
reaped:
    cbz     w20, take
    ubfx    w0, w19, #8, #8         // the exit code
    ands    w1, w19, #127           // the signal that ended it
    b.eq    leave
    add     w0, w1, #128
leave:
    mov     x8, #94                 // exit_group(code)
    svc     #0
child:
    .word   0                       // the child's pid, written before this starts
