import type { ComponentChildren } from "preact";

function Icon({ children }: { children: ComponentChildren }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const MenuIcon = () => <Icon><path d="M2 4h12M2 8h12M2 12h12" /></Icon>;
export const CloseIcon = () => <Icon><path d="M4 4l8 8M12 4l-8 8" /></Icon>;
export const ChevronIcon = () => <Icon><path d="M6 4l4 4-4 4" /></Icon>;
export const SunIcon = () => <Icon><circle cx="8" cy="8" r="3" /><path d="M8 1.500v1.500M8 13v1.500M1.500 8h1.500M13 8h1.500M3.400 3.400l1 1M11.600 11.600l1 1M12.600 3.400l-1 1M4.400 11.600l-1 1" /></Icon>;
export const MoonIcon = () => <Icon><path d="M13 9.500A5.500 5.500 0 0 1 6.500 3 5.500 5.500 0 1 0 13 9.500z" /></Icon>;
export const SystemIcon = () => <Icon><rect x="2" y="3" width="12" height="8" rx="1" /><path d="M6 14h4" /></Icon>;
export const CheckIcon = () => <Icon><path d="M3 8.500l3.500 3.500L13 4.500" /></Icon>;
export const CrossIcon = () => <Icon><path d="M4 4l8 8M12 4l-8 8" /></Icon>;
export const DashIcon = () => <Icon><path d="M4 8h8" /></Icon>;
export const AlertIcon = () => <Icon><path d="M8 2l6.500 11.500h-13zM8 6.500v3M8 11.500v.100" /></Icon>;

export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="7" />
      <path d="M5 13c3.700 0 3.700 3 7.300 3s3.700-3 7.400-3 3.700 3 7.300 3M5 20c3.700 0 3.700 3 7.300 3s3.700-3 7.400-3 3.700 3 7.300 3" />
    </svg>
  );
}
